"""A workspace.

The folder with `campaigns/` and `templates/`, its database and its transports, put
together.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from drip import private
from drip.core.message import Transport
from drip.core.settings import Settings
from drip.errors import DripError, Place, Problem, Problems, nearest, position
from drip.folders import names_in, paths_below
from drip.language.connections import RATES
from drip.language.files import FOLDER as CAMPAIGNS
from drip.language.files import Loaded, load_folder
from drip.paths import COPY
from drip.storage.base.places import DatabaseServer, server

# Each function imports what it alone needs: together that is half a second on the
# machine this was written on, and `drip status` needs little of it. Whoever runs for
# long has it all after the first round.
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from drip.engine.campaign_set import CampaignSet
    from drip.engine.clearing import Keeper
    from drip.inbound.providers.protocol import Provider
    from drip.lint.variables import FieldStats
    from drip.rendering.templates import Templates
    from drip.storage.base.database import Database

TEMPLATES = "templates"
# Where drip keeps what is its own; what SQLite and the daemon keep beside a database.
OWN, OUT = ".drip", ".drip/out"
# Transports that write into folders.
KEEPING = ("files", "pdf")
BESIDE = ("", "-wal", "-shm", "-journal", ".daemon")
# Of alarms: the others may know by themselves whom they tell.
NEED_ADDRESS = ("smtp", "twilio")


@dataclass
class Workspace:
    """Opened once per command. `environment` is where secrets come from."""

    root: Path
    environment: Mapping[str, str]
    loaded: Loaded = field(init=False)

    def __post_init__(self) -> None:
        if not (self.root / CAMPAIGNS).is_dir():
            raise DripError(
                f"There is no workspace in {self.root}: the folder `{CAMPAIGNS}/` is "
                "missing.",
                help=(
                    "`drip init DIR` makes one; `-w DIR` or DRIP_WORKSPACE names "
                    "another folder"
                ),
            )
        self.reload()

    def reload(self) -> None:
        """Reads all files anew."""
        self.loaded = load_folder(self.root)
        self.__dict__.pop("templates", None)

    @cached_property
    def templates(self) -> Templates:
        """Those of `templates/`, compiled as they are asked for."""
        from drip.rendering.templates import Templates

        settings = self.loaded.settings
        return Templates(
            self.root,
            settings.currency if settings else "USD",
            tracks=bool(settings and settings.track_clicks),
        )

    def fingerprint(self) -> tuple[tuple[str, float, int], ...]:
        """Changes when a file of the workspace does.

        Raises OSError for a folder that cannot be listed now.
        """
        return fingerprint_of(self.root, self.environment)

    @property
    def settings(self) -> Settings:
        """Raises Problems if `_settings.yaml` is broken."""
        if self.loaded.settings is None:
            raise Problems(
                problem for problem in self.loaded.problems if problem.level == "error"
            )
        return self.loaded.settings

    @property
    def timezone(self) -> str:
        """The workspace's zone; UTC while the settings are broken."""
        return self.loaded.settings.timezone if self.loaded.settings else "UTC"

    def database_place(self) -> Path | DatabaseServer:
        """DRIP_DATABASE, else `database:` of the settings, else `.drip/drip.db`."""
        # A broken settings file must not keep anybody from stopping a daemon.
        settings = self.loaded.settings
        given = (
            self.environment.get("DRIP_DATABASE")
            or (settings and settings.database)
            or ".drip/drip.db"
        )
        if re.match(r"postgres(ql)?://", given):
            return server(given, self.root / OWN)
        if "://" in given and not given.startswith("sqlite:///"):
            raise DripError(
                f"`{given}` is no database of drip.",
                help="name a file, as `.drip/drip.db`",
            )
        return self.root / given.removeprefix("sqlite:///")

    def exposed(self) -> Iterator[Path]:
        """Files and folders of people's data that other users of this machine can read.

        `.drip`, whatever is in it if others can enter, and the database, wherever it
        lies.
        """
        own, place = self.root / OWN, self.database_place()
        paths = [own]
        if not isinstance(place, DatabaseServer):
            paths += [Path(f"{place.resolve()}{ending}") for ending in BESIDE]
        if any(private.exposed([own])):
            # A link in it may be another user's, and lead to what is to stay open.
            paths += [path for path in own.rglob("*") if not path.is_symlink()]
        yield from dict.fromkeys(private.exposed(paths))

    @contextlib.contextmanager
    def database(self, now: datetime) -> Iterator[Database]:
        """The workspace's database, closed afterwards."""
        from drip.storage.base.opening import open_database

        opened = open_database(self.database_place(), now)
        try:
            yield opened
        finally:
            opened.close()

    def campaign_set(self, database: Database, now: datetime) -> CampaignSet:
        """The campaigns in force.

        A broken file leaves its last good version in force.
        """
        from drip.engine.campaign_set import open_campaign_set

        self.settings  # noqa: B018 - raises if they are broken
        with database.write() as connection:
            campaign_set = open_campaign_set(connection, self.loaded, now)
            campaign_set.refresh(connection)
        return campaign_set

    def transports(self) -> dict[str, Transport]:
        """The transports of the settings, by channel.

        Raises DripError for one that cannot be set up.
        """
        return {
            channel: self._transport(channel, options)
            for channel, options in self.settings.transports.items()
        }

    def transport(self, channel: str) -> Transport:
        """A transport of its own for a channel that the settings have one for.

        Raises DripError.
        """
        if channel not in self.settings.transports:
            raise DripError(
                f"Nothing says how messages by {channel} leave.",
                help=f"name one under `transports: {channel}:`",
            )
        return self._transport(channel, self.settings.transports[channel])

    def transport_options(self) -> dict[str, dict[str, str]]:
        """The options of each channel's transport, secrets and all.

        What is compared to see whether one has changed.
        """
        places = self.settings.transport_places
        return {
            channel: {
                name: self.secret(value, places[channel])
                for name, value in options.items()
            }
            for channel, options in self.settings.transports.items()
        }

    def _transport_problems(self) -> Iterator[Problem]:
        """Transports that do not exist, or cannot send by their channel.

        Their options are tried when they are opened.
        """
        known = _transports_known()
        for channel, options in self.settings.transports.items():
            use, place = options.get("use", ""), self.settings.transport_places[channel]
            if not use:
                yield Problem(
                    place,
                    f"`use:` is missing: how do messages by {channel} leave?",
                    "write `use: files`",
                )
            elif use not in known:
                help = nearest(use, known, what="transports")
                yield Problem(place, f"there is no transport `{use}`", help)
            elif channel not in known[use].load().channels:
                yield Problem(
                    place,
                    f"the transport `{use}` cannot send by {channel}",
                    "write `use: files` for now",
                )

    def _transport(self, channel: str, options: Mapping[str, str]) -> Transport:
        """The transport of a channel. Raises DripError."""
        place = self.settings.transport_places[channel]
        for problem in self._transport_problems():
            if problem.place == place:
                raise _error(problem)
        return self._opened(
            {name: value for name, value in options.items() if name not in RATES}, place
        )

    def _opened(self, options: Mapping[str, str], place: Place) -> Transport:
        """The transport of these options, which exists. Raises DripError."""
        use = options["use"]
        filled = {name: self.secret(value, place) for name, value in options.items()}
        # The transport is told its options, and knows its own name.
        del filled["use"]
        # Sockets, files and databases each end a text there in their own way.
        if "\0" in "".join(filled.values()):
            sentence = "An option holds a character that text cannot have."
            raise DripError(sentence, place=place)
        if "folder" in filled:
            filled["folder"] = str(self.root / filled["folder"])
        try:
            transport: Transport = _transports_known()[use].load()(filled)
        except ValueError as wrong:
            raise DripError(f"{wrong}.", place=place) from None
        return transport

    def keepers(self) -> list[Keeper]:
        """What takes messages out of folders again.

        Those of the settings' transports, and that of a fresh workspace. A folder can
        hold what another transport wrote before.
        """
        known = _transports_known()
        folders, used = {self.root / OUT}, {*KEEPING}
        for options in self.settings.transports.values():
            used.add(options.get("use", ""))
            if "folder" in options:
                folders.add(self.root / options["folder"])
        keepers: list[Keeper] = []
        for use in sorted(used & known.keys()):
            forget = getattr(known[use].load(), "forget", None)
            if forget:
                keepers += [partial(forget, folder) for folder in sorted(folders)]
        return keepers

    def clear(
        self, database: Database, now: datetime, *, thorough: bool = False
    ) -> str | None:
        """Clears what is left of erased people in files.

        Returns why something is still left, None if nothing is.
        """
        from drip.engine.clearing import clear

        if self.loaded.settings is None:
            return "the settings cannot be read, which say where messages lie"
        return clear(database, self.keepers(), now, self.timezone, thorough=thorough)

    def alarm_target(self) -> tuple[Transport, str] | None:
        """How an operator is told, and the address (which may be empty).

        None if the settings name nobody.

        Raises DripError if the transport cannot be set up.
        """
        options, place = dict(self.settings.alarms), self.settings.alarms_place
        if not options:
            return None
        for problem in self._alarm_problems():
            raise _error(problem)
        to = self.secret(options.pop("to", ""), place)
        return self._opened(options, place), to

    def _alarm_problems(self) -> Iterator[Problem]:
        """What is wrong with how an operator is told."""
        options, place, known = (
            self.settings.alarms,
            self.settings.alarms_place,
            _transports_known(),
        )
        use = options.get("use", "")
        if use == "tasks":
            yield Problem(
                place,
                "alarms cannot be tasks, which are about contacts",
                "write `use: webhook`",
            )
        elif options and use not in known:
            yield Problem(
                place,
                f"there is no transport `{use}`",
                nearest(use, known, what="transports"),
            )
        elif use in NEED_ADDRESS and "to" not in options:
            yield Problem(
                place,
                f"`alarms` by {use} need an address",
                "write `to: you@example.net`",
            )

    def providers(self, fetch: Callable[[str], bytes]) -> dict[str, Provider]:
        """Those whose webhooks are taken in, by name.

        `fetch` gets what is at an address of Amazon's.

        Raises DripError for a key that is none.
        """
        from drip.inbound.providers import open_provider

        found: dict[str, Provider] = {}
        place = self.settings.providers_place
        for name, options in self.settings.providers.items():
            given = {key: self.secret(value, place) for key, value in options.items()}
            try:
                found[name] = open_provider(name, given, fetch)
            except ValueError:
                help = "copy it from the provider's page of webhooks"
                raise DripError(
                    f"The key of {name} is none.", help=help, place=place
                ) from None
        return found

    def mailbox(self) -> dict[str, str] | None:
        """Where bounces come back to, its secrets filled in.

        None if the settings name no mailbox.
        """
        place = self.settings.inbound_place
        return {
            name: self.secret(value, place)
            for name, value in self.settings.inbound.items()
        } or None

    def secret(self, value: str, place: Place) -> str:
        """`secret:NAME` from the environment, or from a file of a secrets folder.

        The folder is systemd's or Docker's. Raises DripError.
        """
        if not value.startswith("secret:"):
            return value
        name = value.removeprefix("secret:")
        if not re.fullmatch(r"[A-Za-z0-9_.-]*[A-Za-z0-9_-]", name):
            raise DripError(
                f"`{name}` cannot be a secret's name.",
                help="use letters, digits and _",
                place=place,
            )
        found = self._secret(name)
        if found is None:
            raise DripError(
                f"The secret {name} is not set.",
                help=(
                    f"set the environment variable {name}, or put it into a file of "
                    "that name in the secrets folder"
                ),
                place=place,
            )
        return found

    def _secret(self, name: str) -> str | None:
        """A secret's value; None where it is not set."""
        if name in self.environment:
            return self.environment[name]
        for folder in _secret_folders(self.environment):
            path = folder / name
            if path.is_file():
                # Whoever writes it with an editor leaves a line end behind.
                return path.read_text("utf-8").strip()
        return None

    def problems(
        self, people: FieldStats | None = None, events: Collection[str] = ()
    ) -> list[Problem]:
        """Everything that is wrong or unwise, in order of places.

        In campaigns, settings and templates.

        `people` and `events` are what the database knows, if there is one.
        """
        from drip.lint.logic import settings_problems
        from drip.lint.variables import FieldStats

        found = list(self.loaded.problems)
        for name in self.templates.strays():
            outside = "the file lies outside of templates/"
            found.append(Problem(Place(name), outside, COPY))
        if self.loaded.settings:
            found += settings_problems(self.settings)
            found += self._transport_problems()
            found += self._alarm_problems()
            found += self._campaign_problems(events)
            found += self._text_problems(people or FieldStats())
        # Two campaigns that send one template find its problems twice.
        return sorted(dict.fromkeys(found), key=position)

    def _campaign_problems(self, events: Collection[str]) -> Iterator[Problem]:
        """What can never happen in campaigns."""
        from drip.lint.logic import campaign_problems

        campaigns = self.loaded.campaigns
        for campaign in campaigns.values():
            yield from campaign_problems(campaign, self.settings, campaigns, events)

    def _text_problems(self, people: FieldStats) -> Iterator[Problem]:
        """What is wrong with what they send."""
        from drip.lint.texts import TextRules

        rules = TextRules(self.settings, self.templates, people)
        for problem in rules.problems(self.loaded.campaigns.values()):
            # What a broken campaign sends is not known, so nothing can be said to be
            # sent by none.
            if not self.loaded.broken or problem.code != "unused-template":
                yield problem


def fingerprint_of(
    root: Path, environment: Mapping[str, str]
) -> tuple[tuple[str, float, int], ...]:
    """What changes when a file of a workspace does, without reading any.

    Raises OSError for a folder that cannot be listed now.
    """
    paths = [*paths_below(root / CAMPAIGNS), *paths_below(root / TEMPLATES)]
    # A secret is renewed where it is short-lived, as a token of OAuth is.
    paths += _secret_files(environment)
    found: list[tuple[str, float, int]] = []
    for path in sorted(paths):
        # An editor may have removed it since, to write it anew.
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((str(path), status.st_mtime, status.st_size))
    return tuple(found)


def _secret_files(environment: Mapping[str, str]) -> list[Path]:
    """The files of the secrets folders that can be listed."""
    found: list[Path] = []
    for folder in _secret_folders(environment):
        # In some only names that are known may be looked up.
        with contextlib.suppress(PermissionError):
            found += [folder / name for name in names_in(folder)]
    return found


def _secret_folders(environment: Mapping[str, str]) -> list[Path]:
    """systemd's and Docker's."""
    docker = Path("/run/secrets")
    own = environment.get("CREDENTIALS_DIRECTORY")
    return [Path(own), docker] if own else [docker]


def _error(problem: Problem) -> DripError:
    """A finding that cannot be passed over."""
    return DripError(
        f"{problem.sentence[0].upper()}{problem.sentence[1:]}.",
        help=problem.help,
        place=problem.place,
    )


def _transports_known() -> dict[str, EntryPoint]:
    """What is installed under the entry-point group, by the name that `use:` takes."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group="drip.transports")}

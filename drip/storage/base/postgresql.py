"""A database of a PostgreSQL server.

The one module that knows PostgreSQL, but for how its SQL is written (`sql`).
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, RootTransaction, create_engine
from sqlalchemy.exc import DBAPIError

from drip.core.shortage import Shortage, said
from drip.errors import DripError
from drip.storage.base.database import Database, Notes
from drip.storage.people.erasing import PERSONAL

HOW_LONG_TO_WAIT = "30s"
# It hinders nobody; what it has done by then need not be done again.
LONGEST_VACUUM = "10min"
# A server that is gone without a word is noticed within a minute.
CONNECTING: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "drip",
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 50_000,
}
# Numbers of our own among a database's advisory locks.
WRITER, DAEMON = 0x64726970_0001, 0x64726970_0002


class PostgresqlDatabase(Database):
    """A database of a server.

    A write transaction takes an advisory lock in a statement of its own, before it
    reads. From there on each of its statements sees all that was stored before it,
    which no other writer can change.
    """

    def __init__(self, url: URL, notes: Path) -> None:
        self._url, self._notes = url.set(drivername="postgresql+psycopg"), notes
        engine = create_engine(
            self._url,
            # Values by their place in a statement, as in SQLite, so that one way to
            # prepare statements serves both.
            paramstyle="format",
            pool_pre_ping=True,
            connect_args={
                **CONNECTING,
                "options": f"-c lock_timeout={HOW_LONG_TO_WAIT}",
            },
            hide_parameters=True,
        )
        super().__init__(engine, url.render_as_string())

    @contextlib.contextmanager
    def _begin(
        self, connection: Connection, *, writing: bool
    ) -> Iterator[RootTransaction]:
        level = "READ COMMITTED" if writing else "REPEATABLE READ"
        connection.execution_options(
            isolation_level=level, postgresql_readonly=not writing
        )
        with connection.begin() as transaction:
            if writing:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER})")
            yield transaction

    def examine(self, connection: Connection) -> None:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise DripError(
                f"The database {self.where} cannot hold every text: "
                f"its encoding is {encoding}.",
                help="make it anew: "
                "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            )

    def scrub(self, *, thorough: bool) -> bool:
        """VACUUM of the tables with people in them.

        What was deleted there is given up, and overwritten by what comes next. The
        server's own files keep it until then, its write-ahead log and backups for as
        long as whoever runs it says.
        """
        tables = ", ".join(table.name for table in PERSONAL)
        with self.translated_errors(), contextlib.closing(self.connect()) as connection:
            connection.execute(f"SET statement_timeout = '{LONGEST_VACUUM}'")
            try:
                connection.execute(f"VACUUM {tables}")
            except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
                return False
        return True

    def lock(self) -> AdvisoryLock:
        return AdvisoryLock(self)

    @contextlib.contextmanager
    def translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise self._in_words(cause) or error from None

    def connect(self) -> psycopg.Connection[Any]:
        """A connection beside the pool's."""
        url = self._url.set(drivername="postgresql")
        address = url.render_as_string(hide_password=False)
        return psycopg.connect(address, autocommit=True, **CONNECTING)

    def _in_words(self, error: BaseException | None) -> DripError | Shortage | None:
        code = getattr(error, "sqlstate", None) or ""
        for pattern, sentence, help in _LACKING:
            if code.startswith(pattern):
                return Shortage(sentence.format(where=self.where), help)
        if code in _SAID:
            sentence, help = _SAID[code]
            return DripError(sentence.format(where=self.where), help=help)
        if isinstance(error, psycopg.OperationalError):
            return self._not_let_in(" ".join(str(error).split()))
        return None

    def _not_let_in(self, answer: str) -> DripError | Shortage:
        """Whoever is not let in gets no code, but words."""
        if _NO_ROOM.search(answer):
            _, sentence, help = _TOO_MANY_CONNECTIONS
            return Shortage(sentence.format(where=self.where), help)
        return said(answer) or DripError(
            f"The database {self.where} does not answer: {answer}.",
            help="see that the server runs, and that DRIP_DATABASE names it with user, "
            "password and database",
        )


# Class 53 is "insufficient resources", 58030 an error of input or output (PostgreSQL
# manual, appendix A).
_TOO_MANY_CONNECTIONS = (
    "53300",
    "The database {where} takes no more connections.",
    "raise `max_connections` there, or end what holds so many",
)
_LACKING = (
    _TOO_MANY_CONNECTIONS,
    (
        "53100",
        "The server's disk is full; what was stored before is whole.",
        "make room on it",
    ),
    (
        "53",
        "The server of the database {where} lacks memory or files.",
        "look at its log, and at its machine",
    ),
    (
        "58030",
        "The disk of the database {where} does not work, or is full.",
        "look at the server's log, and at its disk",
    ),
)
_NO_ROOM = re.compile("too many clients|connection slots|too many connections")
_SAID = {
    "55P03": (
        "The database {where} is busy with another program.",
        "wait for it to end, then try again",
    ),
    "25006": (
        "The database {where} cannot be written to.",
        "name the main server, not one that follows it",
    ),
    "42501": (
        "The database {where} does not let this user do that.",
        "give the user the database: GRANT, or OWNER TO",
    ),
}


class AdvisoryLock:
    """The right to be the one daemon of a database.

    The server gives it back when the connection ends.
    """

    def __init__(self, database: PostgresqlDatabase) -> None:
        self._database = database
        self._connection: psycopg.Connection[Any] | None = None
        self.notes = Notes(database._notes)

    def take(self) -> bool:
        """Whether it is ours now."""
        self.give_back()
        with self._database.translated_errors():
            self._connection = self._database.connect()
            row = self._connection.execute(
                f"SELECT pg_try_advisory_lock({DAEMON})"
            ).fetchone()
        if row == (True,):
            return True
        self.give_back()
        return False

    def is_ours(self) -> bool:
        """Whether it still is: it is gone with its connection."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def is_free(self) -> bool:
        """Whether no daemon has it at this moment."""
        if not self.take():
            return False
        self.give_back()
        return True

    def give_back(self) -> None:
        """Others may take it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _casefold() -> str:
    """Python's `str.casefold` as SQL.

    What the server calls lower case differs from one system to the next.
    """
    folded = dict(_folded())
    single = {c: to for c, to in folded.items() if len(to) == 1}
    several = {c: to for c, to in folded.items() if len(to) > 1}
    before, after = "".join(single), "".join(single.values())
    small = f"translate(lower(given COLLATE \"C\"), '{before}', '{after}')"
    whole = small
    for c, to in several.items():
        whole = f"replace({whole}, '{c}', '{to}')"
    return f"""
BEGIN
    IF octet_length(given) = length(given) THEN
        RETURN lower(given COLLATE "C");
    ELSIF translate(given, '{"".join(several)}', '') = given THEN
        RETURN {small};
    END IF;
    RETURN {whole};
END
"""


def _folded() -> Iterator[tuple[str, str]]:
    """The characters beyond ASCII that `casefold` changes, and what it makes of
    each."""
    for number in range(0x80, sys.maxunicode + 1):
        character = chr(number)
        folded = character.casefold()
        if folded != character:
            yield character, folded


# Sums are of the numbers as they are written (`core.fields.bare_number`), so exact in
# whatever order.
FUNCTIONS = f"""
CREATE FUNCTION drip_fold(given TEXT) RETURNS TEXT
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $fold${_casefold()}$fold$;

CREATE FUNCTION drip_number(given TEXT) RETURNS NUMERIC
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $number$
WITH
    a AS (
        SELECT regexp_replace(
            given,
            '^[$€£¥][ \\t\\n\\r\\f\\v]*|[ \\t\\n\\r\\f\\v]*[$€£¥]$',
            '',
            'g'
        ) AS bare
    ),
    b AS (
        SELECT CASE
            WHEN bare ~ '^[+-]?[0-9]{{1,3}}(,[0-9]{{3}})+(\\.[0-9]+)?$'
            THEN replace(bare, ',', '')
            ELSE bare
        END AS bare
        FROM a
    )
SELECT CASE
    WHEN bare ~ '^[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)$' AND length(bare) <= 30
    THEN CAST(bare AS NUMERIC)
END
FROM b
$number$;

CREATE FUNCTION drip_add(total NUMERIC, given TEXT) RETURNS NUMERIC
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $add$
SELECT total + coalesce(drip_number(given), 0)
$add$;

CREATE FUNCTION drip_rounded(total NUMERIC) RETURNS DOUBLE PRECISION
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $rounded$
SELECT CAST(total AS DOUBLE PRECISION)
$rounded$;

CREATE AGGREGATE drip_sum(TEXT) (
    SFUNC = drip_add, STYPE = NUMERIC, INITCOND = '0', FINALFUNC = drip_rounded
);
"""

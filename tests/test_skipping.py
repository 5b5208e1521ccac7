"""What is not here skips at home and fails in CI, and one line says what that was."""

from __future__ import annotations

import pytest

from tests.servers import missing, skipped_because

Skipped, Failed = pytest.skip.Exception, pytest.fail.Exception


@pytest.mark.parametrize(
    ("ci", "meant", "outcome"),
    [
        ("", "", Skipped),
        ("true", "", Failed),
        ("true", "no corpora", Skipped),
        ("true", "no Dovecot", Failed),
    ],
)
def test_what_is_missing_fails_only_in_ci_and_only_if_it_is_not_meant(
    ci: str, meant: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("DRIP_TESTS_WITHOUT", meant)
    with pytest.raises(outcome, match="no corpora"):
        missing("no corpora")


def test_skipped_tests_are_summed_up_by_their_reasons() -> None:
    reasons = ["no Dovecot", "no PostgreSQL", "no PostgreSQL", "no npm\nand its words"]
    assert skipped_because(reasons) == (
        "4 skipped: no PostgreSQL (2), no Dovecot (1), no npm (1)"
    )

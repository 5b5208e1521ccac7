"""Mails that come back: `reading` says what one is, by `reports` (RFC 3464 and
5965) or by `freetext`; `meaning` what it means.
"""

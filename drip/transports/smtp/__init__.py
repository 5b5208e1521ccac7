"""`smtp`: `transport` has the options and the connections, a `round` hands
messages to them, a `connection` is one socket, a `dialogue` what is said over it, and
`replies` what the answers mean.
"""

from drip.transports.smtp.transport import SmtpTransport

__all__ = ["SmtpTransport"]

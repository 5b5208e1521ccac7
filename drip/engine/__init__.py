"""The stages of sending: who enters, what is due, whether it may go, and handing it
over."""

"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """One plain sentence: what is wrong and what to do. Shown as it is, without a traceback."""

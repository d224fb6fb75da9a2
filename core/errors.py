"""The one exception whose message is meant for the person at the keyboard, and what it quotes of others."""


class UserError(Exception):
    """One plain sentence: what is wrong and what to do. Shown as it is, without a traceback."""


def first_line(error: Exception) -> str:
    """Return the first line of a library's message without its full stop, to be quoted in a sentence."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__

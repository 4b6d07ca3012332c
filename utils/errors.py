"""Mistakes that the user can mend end as one line on the screen, not as a traceback."""


class UserError(Exception):
    """A mistake in the input (file, flag, data set). The message names the file or flag and the remedy."""

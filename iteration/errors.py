"""What a user can mend."""


class UserError(Exception):
    """A mistake that the user can mend. The message is one line: what was found, what was expected, what to type."""

"""What a user can mend, and the command to type."""

from pathlib import Path

TOP = Path(__file__).parents[1]  # the clone, or site-packages
COMMAND = "./launch.sh" if (TOP / "launch.sh").exists() else "flywheel"


class UserError(Exception):
    """A mistake that the user can mend. The message is one line: what was found, what was expected, what to type."""

"""The one exception that means: the user can mend this, so show words and no traceback."""


class UserError(Exception):
    """A wrong parameter, a missing artifact, a bad image: one clear message, exit status 1.

    Raised by nouns and plumbing alike; `stages.plumbing.stage` turns it into words on standard error.
    """

"""A name that is not there is an error; in a package without types it would pass as Any."""

import callboard.client
import callboard.runtime
from callboard.runtime import NoSuchName  # error

callboard.client.no_such_name  # error
callboard.runtime.no_such_name  # error
NoSuchName()

"""The four packages are typed: they can be imported by their public names under strict checking."""

import callboard.client
import callboard.runtime
import callboard.server
import callboard.v1

PACKAGES = [callboard.client, callboard.runtime, callboard.server, callboard.v1]

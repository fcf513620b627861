"""Draw a status line of a hostile text."""

from adapter_build.hermetic.terminal import StatusLine

line = StatusLine()
line.show("drawn \x1b[31m")
line.finish("done")

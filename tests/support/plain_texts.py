"""Print the plain text of each title or body on stdin."""

import json
import sys

from adapter_build.records.html_text import body_text, title_text

for line in sys.stdin:
    kind, text = json.loads(line)
    made = {"title": title_text, "body": body_text}[kind](text)
    print(json.dumps(" ".join(made.split())), flush=True)

"""What a command prints about each of the videos that were named on its command line."""
import json

from utils.text import printable


class Answers:
    """Prints what is found as soon as it is known: an object a line, or a line of text.

    given, failed: the objects so far, of videos with a result and of others {'video', 'error'}"""

    def __init__(self, out, as_json):
        self.out, self.as_json, self.given, self.failed = out, as_json, [], []

    def give(self, answer, text):
        """A result, {'video': name, …} and in words."""
        self.given.append(answer)
        self.say(answer, text)

    def fail(self, name, error):
        self.failed.append({'video': name, 'error': error})
        self.say(self.failed[-1], f'{name}: {error}')

    def say(self, answer, text):
        print(json.dumps(answer) if self.as_json else printable(text), file=self.out, flush=True)

"""Bad input by area: command lines that end in one sentence, and the files that they name."""

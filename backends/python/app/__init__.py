"""A simulated inference service: it waits as long as a small model would and echoes the prompt."""

SERVICE = "python"
MODEL = "echo-python"

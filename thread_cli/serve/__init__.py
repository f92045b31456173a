"""A local model behind an HTTP interface that clients of OpenAI's understand."""

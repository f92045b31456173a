"""A local model behind an HTTP interface compatible with OpenAI's."""

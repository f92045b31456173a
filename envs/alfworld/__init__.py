"""ALFWorld (arXiv 2010.03768): households in text, over the PyPI packages `alfworld` and `textworld`."""

from thread_envs.alfworld.adapter import Alfworld

__all__ = ["Alfworld"]

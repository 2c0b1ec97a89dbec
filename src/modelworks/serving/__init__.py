"""What is running: routes rows to champions, answers over HTTP, and logs every prediction."""

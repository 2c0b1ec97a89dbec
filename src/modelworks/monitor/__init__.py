"""What the world does to the models: volume, drift, performance, value; and when somebody should know."""

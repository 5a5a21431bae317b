"""What a task is and which moves are legal: values and pure functions, standard library only."""

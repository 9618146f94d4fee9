"""A method for hdbench that lives outside its repository."""

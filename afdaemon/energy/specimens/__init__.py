"""What is looked at: materials, stacks of layers, structures and the volumes that they fill."""

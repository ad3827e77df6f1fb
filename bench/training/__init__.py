"""One client's work: tasks and their losses, local optimisation, devices, images on the device."""

"""What a machine is: rates, memory, meters, processes, and the catalogue of machines."""

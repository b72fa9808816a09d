"""Processes of children: started, found, measured, killed and proved dead."""

"""The embedded engine behind the NIM contract, and the checks of any deployment over HTTP."""

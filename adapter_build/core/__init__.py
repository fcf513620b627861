"""Foundation of all packages: errors, files, digests, processes, progress. Imports none of them."""

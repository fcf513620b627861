"""The step runner: it runs one declared step, hermetically, and leaves proof of what it did."""

"""What is odd about photos, whichever command looks at them: told in its plan or at its end, and shown in its sheet."""

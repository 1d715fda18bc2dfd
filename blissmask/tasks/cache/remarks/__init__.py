"""What is odd about an item: values that fit their type and make no sense, told in the plan and shown in the sheet."""

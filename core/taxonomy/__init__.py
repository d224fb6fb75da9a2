"""What is known of categories: names, attributes, descriptions, look-alikes and the questions about them."""

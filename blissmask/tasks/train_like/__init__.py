"""`train --like`: the settings that equal another trainer's mask loss."""

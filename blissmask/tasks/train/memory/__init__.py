"""The memory of a training: fitted to the device, and forecast without one."""

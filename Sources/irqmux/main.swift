print("irqmux")

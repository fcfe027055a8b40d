// IRQMux

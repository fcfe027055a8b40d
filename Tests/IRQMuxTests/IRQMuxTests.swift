// IRQMuxTests

// InterruptModelTests

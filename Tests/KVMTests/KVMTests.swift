// KVMTests

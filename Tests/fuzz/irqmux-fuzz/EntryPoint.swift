import CKernel
import Synchronization

/// What libFuzzer calls for each input.
///
/// The first byte chooses: bodies and texts for the decoders, a client's stream for the server with one of two devices,
/// or a server's stream for the client. An input that leaves a descriptor open ends the program, as one that crashes it
/// does.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
    guard count > 1 else { return 0 }
    // SAFETY: libFuzzer gives as many bytes as it says, for the call.
    let input = unsafe Array(UnsafeBufferPointer(start: data, count: count))
    let rest = input[1...]
    let before = lowestFree()
    switch input[0] % 3 {
    case 0: DecoderTarget.run(Array(rest))
    case 1 where input[0] & 0x80 == 0: ServerTarget.runFramework(Array(rest))
    case 1: ServerTarget.runExerciser(Array(rest))
    default: ClientTarget.run(Array(rest))
    }
    let after = lowestFree()
    // What stays open for good after its first use comes first in the very first inputs.
    if after != before {
        precondition(changes.add(1, ordering: .relaxed).newValue < 8, "an input left descriptors open")
    }
    return 0
}

/// How often an input changed the number of open descriptors.
private let changes = Atomic<Int>(0)

/// The descriptor that the next open would get: it rises with every one that is left open.
private func lowestFree() -> Int32 {
    let copy = irqmux_duplicate(2)
    _ = irqmux_close(copy)
    return copy
}

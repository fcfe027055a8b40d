internal import ArgumentParser
internal import HostDevices
internal import VFIO

/// Where the host's files are; another place than this machine only for tests.
struct HostOptions: ParsableArguments {
    @Option(name: .customLong("host-root"), help: .hidden)
    var root = ""

    var tree: HostTree { root.isEmpty ? .real : HostTree(root: root) }
}

/// The PCI address of a function, as typed.
struct AddressArgument: Equatable {
    let address: PCIAddress

    init(parsing text: String) throws(UsageError) {
        guard let address = PCIAddress(parsing: text.utf8) else {
            throw UsageError("'\(text)' is no PCI address; accepted: DDDD:BB:dd.f as in 0000:01:00.0, or BB:dd.f")
        }
        self.address = address
    }
}

/// The UUID of a mediated device, as typed; `mdev:` before it is let through.
struct UUIDArgument: Equatable {
    let uuid: UUIDBytes

    init(parsing text: String) throws(UsageError) {
        let bare = text.hasPrefix("mdev:") ? text.dropFirst(5) : text[...]
        guard let uuid = UUIDBytes(parsing: bare.utf8) else {
            throw UsageError("'\(text)' is no UUID; accepted: one as 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001")
        }
        self.uuid = uuid
    }
}

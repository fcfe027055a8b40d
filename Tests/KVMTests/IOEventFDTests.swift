import CKernel
import EventRing
import KVM
import MicroGuest
import TestSupport
import Testing

@Suite("ioeventfd rules", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized)
struct IOEventFDTests {
    static let places: [DoorbellAddress.Place] = [.port(0x700), .memory(0x1000_0000)]

    private func raw(_ machine: borrowing VirtualMachine, _ request: kvm_ioeventfd) -> Int32 {
        var request = request
        // SAFETY: a whole struct kvm_ioeventfd that outlives the call.
        return unsafe irqmux_ioctl(machine.number, irqmux_KVM_IOEVENTFD, &request)
    }

    @Test("every width, on ports and memory, with and without a match", arguments: places)
    func widths(place: DoorbellAddress.Place) throws {
        let machine = try VirtualMachine()
        let eventFD = try EventFD()
        for width in DoorbellAddress.Width.allCases {
            let plain = try machine.assignIOEventFD(eventFD, at: DoorbellAddress(place, width: width))
            #expect(plain.address.width == width)
            try plain.deassign()
            guard width != .any else { continue }
            try machine.assignIOEventFD(eventFD, at: DoorbellAddress(place, width: width, match: 0x7f)).deassign()
        }
    }

    @Test("widths are of doorbells that live side by side; matches too", arguments: places)
    func neighbours(place: DoorbellAddress.Place) throws {
        let machine = try VirtualMachine()
        let eventFD = try EventFD()
        var held: [Held<IOEventFD>] = []
        for width in DoorbellAddress.Width.allCases where width != .any {
            for match in 0..<4 as Range<UInt64> {
                let address = DoorbellAddress(place, width: width, match: match)
                held.append(Held(try machine.assignIOEventFD(eventFD, at: address)))
            }
        }
        #expect(held.count == 16)
    }

    @Test("collisions: EEXIST", arguments: places)
    func collisions(place: DoorbellAddress.Place) throws {
        let machine = try VirtualMachine()
        let first = try EventFD()
        let second = try EventFD()
        func refuses(_ there: DoorbellAddress, _ wanted: DoorbellAddress) throws {
            let doorbell = try machine.assignIOEventFD(first, at: there)
            expectRefusal(.assignIOEventFD, EEXIST, .doorbellTaken) { () throws(KVMError) in
                try machine.assignIOEventFD(second, at: wanted)
            }
            try doorbell.deassign()
        }
        func at(_ width: DoorbellAddress.Width, _ match: UInt64? = nil) -> DoorbellAddress {
            DoorbellAddress(place, width: width, match: match)
        }
        try refuses(at(.two), at(.two))
        try refuses(at(.two, 1), at(.two, 1))
        try refuses(at(.two), at(.two, 1))
        try refuses(at(.two, 1), at(.two))
        try refuses(at(.any), at(.two))
        try refuses(at(.two), at(.any))
    }

    @Test("a match without a width: EINVAL", arguments: places)
    func matchNeedsWidth(place: DoorbellAddress.Place) throws {
        let machine = try VirtualMachine()
        let eventFD = try EventFD()
        expectRefusal(.assignIOEventFD, EINVAL, .matchNeedsWidth) { () throws(KVMError) in
            try machine.assignIOEventFD(eventFD, at: DoorbellAddress(place, width: .any, match: 1))
        }
    }

    @Test("trap: KVM takes a match that is wider than the write, and it never rings; this room refuses it")
    func matchTooWide() throws {
        let machine = try VirtualMachine()
        let eventFD = try EventFD()
        for (width, match) in [(.one, 0x100), (.two, 0x1_0000), (.four, 0x1_0000_0000)]
            as [(DoorbellAddress.Width, UInt64)]
        {
            expectRefusal(.assignIOEventFD, EINVAL, .matchTooWide) { () throws(KVMError) in
                try machine.assignIOEventFD(eventFD, at: DoorbellAddress(.port(0x700), width: width, match: match))
            }
        }
        var request = kvm_ioeventfd()
        request.fd = eventFD.number
        request.addr = 0x700
        request.len = 1
        request.datamatch = 0x100
        request.flags = UInt32(irqmux_KVM_IOEVENTFD_PIO | irqmux_KVM_IOEVENTFD_DATAMATCH)
        #expect(raw(machine, request) == 0)
    }

    @Test("an address that wraps: EINVAL")
    func wrap() throws {
        let machine = try VirtualMachine()
        let eventFD = try EventFD()
        expectRefusal(.assignIOEventFD, EINVAL, .addressWraps) { () throws(KVMError) in
            try machine.assignIOEventFD(eventFD, at: DoorbellAddress(.memory(.max - 3), width: .four))
        }
        try machine.assignIOEventFD(eventFD, at: DoorbellAddress(.memory(.max - 4), width: .four)).deassign()
    }

    @Test("a number that is not open: EBADF; a file that is no eventfd: EINVAL", arguments: places)
    func badEventFD(place: DoorbellAddress.Place) throws {
        let machine = try VirtualMachine()
        expectRefusal(.assignIOEventFD, EBADF, .eventFDClosed) { () throws(KVMError) in
            try machine.assignIOEventFD(neverOpen, at: DoorbellAddress(place, width: .two))
        }
        try withPlainFile { number in
            expectRefusal(.assignIOEventFD, EINVAL, .notAnEventFD) { () throws(KVMError) in
                try machine.assignIOEventFD(number, at: DoorbellAddress(place, width: .two))
            }
        }
    }

    @Test("unknown flags and widths: EINVAL from the kernel")
    func unreachable() throws {
        let machine = try VirtualMachine()
        let eventFD = try EventFD()
        var request = kvm_ioeventfd()
        request.fd = eventFD.number
        request.addr = 0x1000_0000
        for width in [3, 5, 6, 7, 9, 16] as [UInt32] {
            request.len = width
            #expect(raw(machine, request) == -EINVAL, "width \(width)")
        }
        request.len = 4
        request.flags = 1 << 20
        #expect(raw(machine, request) == -EINVAL)
    }

    @Test("a deassign that agrees in all but one thing: ENOENT")
    func deassignMismatch() throws {
        let machine = try VirtualMachine()
        let eventFD = try EventFD()
        let other = try EventFD()
        let doorbell = try machine.assignIOEventFD(eventFD, at: DoorbellAddress(.port(0x700), width: .two, match: 7))
        var exact = kvm_ioeventfd()
        exact.fd = eventFD.number
        exact.addr = 0x700
        exact.len = 2
        exact.datamatch = 7
        exact.flags = UInt32(
            irqmux_KVM_IOEVENTFD_PIO | irqmux_KVM_IOEVENTFD_DATAMATCH | irqmux_KVM_IOEVENTFD_DEASSIGN)
        func changed(_ change: (inout kvm_ioeventfd) -> Void) -> kvm_ioeventfd {
            var request = exact
            change(&request)
            return request
        }
        #expect(raw(machine, changed { $0.fd = other.number }) == -ENOENT)
        #expect(raw(machine, changed { $0.addr = 0x701 }) == -ENOENT)
        #expect(raw(machine, changed { $0.len = 4 }) == -ENOENT)
        #expect(raw(machine, changed { $0.datamatch = 8 }) == -ENOENT)
        #expect(raw(machine, changed { $0.flags &= ~UInt32(irqmux_KVM_IOEVENTFD_PIO) }) == -ENOENT)
        #expect(raw(machine, changed { $0.flags &= ~UInt32(irqmux_KVM_IOEVENTFD_DATAMATCH) }) == -ENOENT)
        #expect(raw(machine, exact) == 0, "the doorbell was there all the time")
        expectRefusal(ofDeassigning: doorbell, ENOENT, .noSuchDoorbell)
    }

    @Test("an owner that goes out of scope deassigns", arguments: places)
    func scope(place: DoorbellAddress.Place) throws {
        let machine = try VirtualMachine()
        let eventFD = try EventFD()
        let address = DoorbellAddress(place, width: .two)
        do { _ = Held(try machine.assignIOEventFD(eventFD, at: address)) }
        try machine.assignIOEventFD(eventFD, at: address).deassign()
    }

    @Test("more than a thousand doorbells on one machine")
    func many() throws {
        let machine = try VirtualMachine()
        let eventFD = try EventFD()
        var held: [Held<IOEventFD>] = []
        for index in 0..<1_100 as Range<UInt64> {
            let address = DoorbellAddress(.memory(0x1000_0000 + index * 8), width: .eight)
            held.append(Held(try machine.assignIOEventFD(eventFD, at: address)))
        }
        #expect(held.count == 1_100)
    }
}

@Suite("a guest rings doorbells", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized)
struct RingingTests {
    /// Runs `program`, which ends with a write that nobody answers, and returns how often each doorbell rang.
    private func rings(
        of addresses: [DoorbellAddress], endsWith end: GuestExit? = nil, _ program: (inout RealModeAssembler) -> Void
    ) throws -> [UInt64] {
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        program(&code)
        code.writeWord(0xe0d, port: 0x7f0)
        var image = GuestImage()
        image.place(code)
        let guest = try MicroGuest(image: image)
        var eventFDs: [Held<EventFD>] = []
        var doorbells: [Held<IOEventFD>] = []
        for address in addresses {
            let eventFD = Held(try EventFD())
            doorbells.append(Held(try guest.virtualMachine.assignIOEventFD(eventFD.value, at: address)))
            eventFDs.append(eventFD)
        }
        try guest.start()
        #expect(try guest.awaitEnd() == end ?? .unclaimedPort(0x7f0, value: 0xe0d, width: 2, isWrite: true))
        return try eventFDs.map { try $0.value.take() }
    }

    @Test("on a port: each width its own doorbell")
    func portWidths() throws {
        let widths: [DoorbellAddress.Width] = [.one, .two, .four]
        let counts = try rings(of: widths.map { DoorbellAddress(.port(0x700), width: $0) }) {
            $0.movDX(0x700)
            $0.outDXfromAL()
            $0.outDXfromAX()
            $0.outDXfromAX()
            $0.outDXfromEAX()
            $0.outDXfromEAX()
            $0.outDXfromEAX()
        }
        #expect(counts == [1, 2, 3])
    }

    @Test("in memory: each width its own doorbell")
    func memoryWidths() throws {
        let widths: [DoorbellAddress.Width] = [.one, .two, .four]
        let counts = try rings(of: widths.map { DoorbellAddress(.memory(0x2_0010), width: $0) }) {
            $0.movAX(0x2000)
            $0.movDSfromAX()
            $0.storeAL(0x10)
            $0.storeAX(0x10)
            $0.storeAX(0x10)
            $0.storeEAX(0x10)
            $0.storeEAX(0x10)
            $0.storeEAX(0x10)
        }
        #expect(counts == [1, 2, 3])
    }

    @Test("width any: every width rings, on a port and in memory")
    func anyWidth() throws {
        let places: [DoorbellAddress.Place] = [.port(0x700), .memory(0x2_0010)]
        let counts = try rings(of: places.map { DoorbellAddress($0, width: .any) }) {
            $0.movDX(0x700)
            $0.outDXfromAL()
            $0.outDXfromAX()
            $0.outDXfromEAX()
            $0.movAX(0x2000)
            $0.movDSfromAX()
            $0.storeAL(0x10)
            $0.storeAX(0x10)
            $0.storeEAX(0x10)
        }
        #expect(counts == [3, 3])
    }

    @Test("a match rings its own doorbell; another value goes to the VMM")
    func match() throws {
        let matches: [UInt64] = [0x41, 0x42]
        let counts = try rings(
            of: matches.map { DoorbellAddress(.port(0x700), width: .two, match: $0) },
            endsWith: .unclaimedPort(0x700, value: 0x43, width: 2, isWrite: true)
        ) {
            $0.writeWord(0x42, port: 0x700)
            $0.writeWord(0x41, port: 0x700)
            $0.writeWord(0x42, port: 0x700)
            $0.writeWord(0x43, port: 0x700)
        }
        #expect(counts == [1, 2])
    }

    @Test("a write of another width goes to the VMM")
    func otherWidth() throws {
        let counts = try rings(
            of: [DoorbellAddress(.port(0x700), width: .two)],
            endsWith: .unclaimedPort(0x700, value: 0x41, width: 1, isWrite: true)
        ) { $0.writeByte(0x41, port: 0x700) }
        #expect(counts == [0])
    }
}

/// Where a PCI function sits: domain, bus, device, function; written `0000:01:00.0`.
public struct PCIAddress: Hashable, Comparable, Sendable {
    /// The segment, 16 bits as a rule; 32 where the kernel makes domains up.
    public var domain: UInt32
    /// The bus.
    public var bus: UInt8
    /// The device, 0…31.
    public var device: UInt8
    /// The function, 0…7.
    public var function: UInt8

    /// Names a function; device and function are cut to what PCI allows.
    public init(domain: UInt32 = 0, bus: UInt8, device: UInt8, function: UInt8) {
        self.domain = domain
        self.bus = bus
        self.device = device & 31
        self.function = function & 7
    }

    /// Reads `DDDD:BB:dd.f`, hexadecimal in either case; the domain may be left out, as in lspci. `nil` for anything
    /// else.
    public init?(parsing text: some Sequence<UInt8>) {
        var fields: [(value: UInt32, digits: Int, end: UInt8)] = []
        var value: UInt32 = 0
        var digits = 0
        for byte in text {
            if let digit = Self.digit(byte) {
                guard digits < 8 else { return nil }
                value = value << 4 | digit
                digits += 1
            } else {
                guard byte == UInt8(ascii: ":") || byte == UInt8(ascii: "."), fields.count < 4 else { return nil }
                fields.append((value, digits, byte))
                value = 0
                digits = 0
            }
        }
        fields.append((value, digits, 0))
        if fields.count == 3 { fields.insert((0, 4, UInt8(ascii: ":")), at: 0) }
        guard fields.count == 4, fields[0].digits >= 4, fields[1].digits == 2, fields[2].digits == 2,
            fields[3].digits == 1, fields[0].end == UInt8(ascii: ":"), fields[1].end == UInt8(ascii: ":"),
            fields[2].end == UInt8(ascii: "."), fields[2].value < 32, fields[3].value < 8
        else { return nil }
        self.init(
            domain: fields[0].value, bus: UInt8(fields[1].value), device: UInt8(fields[2].value),
            function: UInt8(fields[3].value))
    }

    /// `0000:01:00.0`, in lower case as the kernel writes it.
    public var text: [UInt8] {
        var text: [UInt8] = []
        Self.append(domain, digits: domain > 0xffff ? 8 : 4, to: &text)
        text.append(UInt8(ascii: ":"))
        Self.append(UInt32(bus), digits: 2, to: &text)
        text.append(UInt8(ascii: ":"))
        Self.append(UInt32(device), digits: 2, to: &text)
        text.append(UInt8(ascii: "."))
        text.append(UInt8(ascii: "0") + function)
        // The kernel writes %04x: as many digits as the number has, four at least.
        while domain > 0xffff, text[0] == UInt8(ascii: "0") { text.removeFirst() }
        return text
    }

    /// In the order of domain, bus, device, function.
    public static func < (left: PCIAddress, right: PCIAddress) -> Bool {
        (left.domain, left.bus, left.device, left.function) < (right.domain, right.bus, right.device, right.function)
    }

    static func digit(_ byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte - UInt8(ascii: "a") + 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte - UInt8(ascii: "A") + 10)
        default: nil
        }
    }

    static func append(_ value: UInt32, digits: Int, to text: inout [UInt8]) {
        for place in (0..<digits).reversed() {
            let digit = UInt8(value >> UInt32(4 * place) & 15)
            text.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
        }
    }
}

#if !hasFeature(Embedded)
    extension PCIAddress: CustomStringConvertible {
        /// `0000:01:00.0`.
        public var description: String { String(decoding: text, as: UTF8.self) }
    }
#endif

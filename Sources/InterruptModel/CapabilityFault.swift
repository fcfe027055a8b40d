/// What is wrong with a chain of capabilities, and where.
public struct CapabilityFault: Error, Equatable, Sendable {
    /// The kinds of fault.
    public enum Kind: UInt8, CaseIterable, Sendable {
        /// There are fewer bytes than a header has.
        case spaceTooSmall
        /// Every bit of the vendor's number is set: no function is there.
        case nobodyAnswers
        /// A pointer leads into the header, or past the end. Ends the walk.
        case pointerOutside
        /// A pointer leads to where the walk has been. Ends the walk.
        case loop
        /// Every bit of a capability's header is set: the device stopped answering. Ends the walk.
        case notAnswering
        /// A capability's structure runs past the end. It is passed over.
        case truncated
        /// A field has a value that PCI reserves. The capability is cut to what PCI allows, or passed over where that
        /// cannot be said.
        case reservedValue
        /// The MSI-X table and the pending bits claim the same bytes. The capability is passed over.
        case overlap
        /// The capability stands in the chain a second time. The first one counts.
        case duplicate
        /// Numbers contradict each other, such as more virtual functions in use than there are.
        case inconsistent

        /// One sentence for reports.
        public var text: StaticString {
            switch self {
            case .spaceTooSmall: "configuration space is smaller than a header"
            case .nobodyAnswers: "no function answers"
            case .pointerOutside: "a pointer of the chain leads outside"
            case .loop: "the chain loops"
            case .notAnswering: "the device stopped answering"
            case .truncated: "the capability runs past the end"
            case .reservedValue: "a field has a reserved value"
            case .overlap: "the MSI-X table and the pending bits overlap"
            case .duplicate: "the capability stands in the chain twice"
            case .inconsistent: "fields contradict each other"
            }
        }
    }

    /// What is wrong.
    public let kind: Kind
    /// The offset, in bytes, of the capability, pointer or field; for a bad pointer, of what it points to.
    public let offset: UInt16

    /// Names a fault.
    public init(_ kind: Kind, at offset: UInt16) {
        self.kind = kind
        self.offset = offset
    }
}

#if !hasFeature(Embedded)
    extension CapabilityFault: CustomStringConvertible {
        /// "configuration space 0x0NN: WHAT".
        public var description: String {
            let digits = String(offset, radix: 16)
            let zeros = String(repeating: "0", count: max(0, 3 - digits.count))
            return "configuration space 0x\(zeros)\(digits): \(kind.text)"
        }
    }
#endif

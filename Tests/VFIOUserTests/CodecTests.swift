import Foundation
import InterruptModel
import Testing

@testable import VFIOUser

@Suite("vfio-user codec")
struct CodecTests {
    @Test("a header is sixteen bytes, each field in its place")
    func header() throws {
        let header = MessageHeader(id: 0x0102, command: 8, messageSize: 0x24, flags: 0x21, errno: 22)
        #expect(header.encoded == [2, 1, 8, 0, 0x24, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0])
        #expect(MessageHeader(decoding: header.encoded) == header)
        #expect(header.isReply && header.isError && !header.isCommand && !header.wantsNoReply)
        for count in 0..<16 { #expect(MessageHeader(decoding: Array(header.encoded.prefix(count))) == nil) }
    }

    @Test("VERSION carries every capability there and back")
    func version() throws {
        var capabilities = Capabilities()
        capabilities.maxMessageFDs = 8
        capabilities.maxDataTransfer = 65536
        capabilities.maxDMAMaps = 7
        capabilities.pageSizes = 0x1000_1000
        capabilities.writesMultiple = true
        capabilities.twinSocket = true
        capabilities.twinSocketIndex = 3
        let message = VersionMessage(minor: 1, capabilities: capabilities)
        #expect(message.encoded.last == 0)
        #expect(VersionMessage(decoding: message.encoded) == message)
    }

    @Test("a VERSION without text is all defaults, one descriptor a message among them")
    func defaults() throws {
        for body in [[0, 0, 1, 0], [0, 0, 1, 0, 0]] as [[UInt8]] {
            let message = try #require(VersionMessage(decoding: body))
            #expect(message.capabilities == Capabilities() && message.capabilities.maxMessageFDs == 1)
            #expect(message.major == 0 && message.minor == 1)
        }
        #expect(VersionMessage(decoding: [0, 0, 1]) == nil)
    }

    @Test("what QEMU 11.1 proposes is understood, its migration keys passed over")
    func qemu() throws {
        let text =
            #"{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535,"#
            + #" "max_data_xfer_size": 1048576, "migration": {"max_bitmap_size": 268435456, "pgsize": 4096},"#
            + #" "write_multiple": true}}"#
        let capabilities = try #require(Capabilities(json: Array(text.utf8)[...]))
        #expect(capabilities.maxMessageFDs == 16 && capabilities.writesMultiple && !capabilities.twinSocket)
    }

    @Test(
        "keys that nobody knows are passed over, whatever their value",
        arguments: [
            #"{"capabilities":{"new":null,"max_msg_fds":3}}"#,
            #"{"other":[1,[2,{"a":"b"}]],"capabilities":{"max_msg_fds":3}}"#,
            #"{"capabilities":{"x":-1.5e+3,"y":"\u00e9\\\"","z":[],"max_msg_fds":3,"w":{}}}"#,
            " { \"capabilities\" :\n{ \"max_msg_fds\"\t: 3 } }\r\n",
            #"{"capabilities":{"max_msg_fds":2,"max_msg_fds":3,"twin_socket":{"supported":false,"more":1}}}"#,
        ])
    func unknownKeys(text: String) throws {
        let capabilities = try #require(Capabilities(json: Array(text.utf8)[...]))
        #expect(capabilities.maxMessageFDs == 3)
    }

    @Test(
        "text that is no JSON, or no capabilities, is refused",
        arguments: [
            "", "{", "}", "[]", "3", #"{"capabilities":1}"#, #"{"capabilities":{"max_msg_fds":-1}}"#,
            #"{"capabilities":{"max_msg_fds":"8"}}"#, #"{"capabilities":{"max_msg_fds":4294967296}}"#,
            #"{"capabilities":{"max_data_xfer_size":0}}"#, #"{"capabilities":{"max_msg_fds":1e3}}"#,
            #"{"capabilities":{"write_multiple":1}}"#, #"{"capabilities":{"twin_socket":true}}"#,
            #"{"capabilities":{"pgsizes":99999999999999999999}}"#, #"{"capabilities":{}},"#, #"{"a":01}"#, #"{"a":1.}"#,
            #"{"a":+1}"#, #"{"a":tru}"#, #"{"a":"\x"}"#, #"{"a":"\u12"}"#, "{\"a\":\"\n\"}", #"{"a" 1}"#, #"{"a":1,}"#,
            #"{a:1}"#, "{\"\u{0}", String(repeating: "[", count: 100_000),
            #"{"a":"# + String(repeating: "[", count: 20) + String(repeating: "]", count: 20) + "}",
        ])
    func badText(text: String) { #expect(Capabilities(json: Array(text.utf8)[...]) == nil) }

    @Test("text that is no UTF-8 is refused")
    func badUTF8() { #expect(Capabilities(json: [0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]) == nil) }

    @Test("a region's sparse areas come back as they were sent, and the short form says how much room they need")
    func sparse() throws {
        var layout = RegionLayout()
        layout.size = 0x4000
        layout.readable = true
        layout.mappable = true
        layout.areas = [.init(offset: 0, length: 0x1000), .init(offset: 0x3000, length: 0x1000)]
        let short = RegionInfoMessage.reply(layout, index: 2, room: 32)
        #expect(short.count == 32)
        let told = try #require(RegionInfoMessage(reply: short))
        #expect(told.argsz == 80 && told.info.areas.isEmpty && told.info.mappable)
        let whole = try #require(RegionInfoMessage(reply: RegionInfoMessage.reply(layout, index: 2, room: 80)))
        #expect(whole.info == layout && whole.index == 2)
    }

    /// A reply with a chain of capabilities behind it.
    private func reply(size: UInt64, chain: UInt32, _ tail: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(u32: UInt32(32 + tail.count))
        for word in [15, 0, chain] as [UInt32] { bytes.append(u32: word) }
        bytes.append(u64: size)
        bytes.append(u64: 0)
        return bytes + tail
    }

    private func capability(_ id: UInt16, next: UInt32, _ words: [UInt32]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(u16: id)
        bytes.append(u16: 1)
        bytes.append(u32: next)
        for word in words { bytes.append(u32: word) }
        return bytes
    }

    @Test("a chain that loops, goes back, or leaves the message is a lie, and not a hang")
    func chains() throws {
        let own = capability(9, next: 32, [])
        #expect(RegionInfoMessage(reply: reply(size: 4096, chain: 32, own)) == nil)
        let back = capability(9, next: 40, []) + capability(9, next: 32, [])
        #expect(RegionInfoMessage(reply: reply(size: 4096, chain: 32, back)) == nil)
        for outside in [8, 31, 33, 39, 1000, UInt32.max] as [UInt32] {
            #expect(RegionInfoMessage(reply: reply(size: 4096, chain: outside, own)) == nil, "\(outside)")
        }
        let good = capability(9, next: 40, []) + capability(1, next: 0, [1, 0, 0, 0, 4096, 0])
        #expect(try #require(RegionInfoMessage(reply: reply(size: 4096, chain: 32, good))).info.areas.count == 1)
        let many = capability(1, next: 0, [UInt32.max, 0])
        #expect(RegionInfoMessage(reply: reply(size: 4096, chain: 32, many)) == nil)
        let beyond = capability(1, next: 0, [1, 0, 4096, 0, 1, 0])
        #expect(RegionInfoMessage(reply: reply(size: 4096, chain: 32, beyond)) == nil)
        let wraps = capability(1, next: 0, [1, 0, 1, 0, UInt32.max, UInt32.max])
        #expect(RegionInfoMessage(reply: reply(size: 4096, chain: 32, wraps)) == nil)
    }

    @Test("a CAPS flag without room for capabilities, as the Rust server sends it, is passed over")
    func shortCaps() throws {
        let told = try #require(RegionInfoMessage(reply: reply(size: 4096, chain: 32, [])))
        #expect(told.info.areas.isEmpty)
    }

    @Test("doorbells of 40 bytes, and of libvfio-user's 48, are both read", arguments: [40, 48])
    func stride(entry: Int) throws {
        var bytes: [UInt8] = []
        for word in [UInt32(16 + 2 * entry), 0, 3, 2] as [UInt32] { bytes.append(u32: word) }
        for number in 0..<2 as Range<UInt32> {
            bytes.append(u64: 0x10 * UInt64(number))
            bytes.append(u64: 4)
            for word in [number == 0 ? 0 : UInt32.max, 0, 1, 0] as [UInt32] { bytes.append(u32: word) }
            if entry == 48 { bytes.append(u64: 0xdead) }
            bytes.append(u64: 77)
        }
        let told = try #require(RegionIOFDsMessage(reply: bytes, fds: 1))
        #expect(told.entries.count == 2 && told.index == 3)
        #expect(told.entries[0].fdIndex == 0 && told.entries[1].fdIndex == nil)
        #expect(told.entries.allSatisfy { $0.dataMatch == 77 && $0.size == 4 })
        // An index without its descriptor is a lie.
        #expect(RegionIOFDsMessage(reply: bytes, fds: 0) == nil)
    }

    @Test("doorbells of another size are a lie")
    func badStride() {
        var bytes: [UInt8] = []
        for word in [UInt32(16 + 41), 0, 3, 1] as [UInt32] { bytes.append(u32: word) }
        bytes += [UInt8](repeating: 0, count: 41)
        #expect(RegionIOFDsMessage(reply: bytes, fds: 1) == nil)
    }

    @Test("an array of eventfds becomes runs of one kind, none longer than the limit")
    func chunks() {
        func shape(_ numbers: [Int32], _ limit: Int) -> [String] {
            VFIOUserClient.chunks(numbers, from: 10, limit: limit).map {
                "\($0.start)+\($0.numbers.count)\($0.isRemoval ? "-" : "")"
            }
        }
        #expect(shape([1, 2, 3], 8) == ["10+3"])
        #expect(shape([1, 2, 3], 1) == ["10+1", "11+1", "12+1"])
        #expect(shape([1, -1, -5, 2], 8) == ["10+1", "11+2-", "13+1"])
        #expect(shape(Array(repeating: -1, count: 2048), 1) == ["10+2048-"])
        #expect(shape(Array(1...20), 8) == ["10+8", "18+8", "26+4"])
        #expect(shape([], 8) == [])
    }

    @Test("REGION_WRITE_MULTI must hold exactly the writes that it counts")
    func writeMulti() throws {
        var body: [UInt8] = []
        body.append(u64: 1)
        body.append(u64: 0x20)
        body.append(u32: 0)
        body.append(u32: 2)
        body.append(u64: 0x1122)
        let message = try #require(RegionWriteMultiMessage(decoding: body))
        #expect(message.writes.count == 1 && message.writes[0].bytes == [0x22, 0x11])
        #expect(message.encoded == body.prefix(24) + [0x22, 0x11, 0, 0, 0, 0, 0, 0])
        #expect(RegionWriteMultiMessage(decoding: body + [0]) == nil)
        #expect(RegionWriteMultiMessage(decoding: Array(body.dropLast())) == nil)
        var many: [UInt8] = []
        many.append(u64: UInt64.max)
        #expect(RegionWriteMultiMessage(decoding: many) == nil)
        body[20] = 9
        #expect(RegionWriteMultiMessage(decoding: body) == nil)
    }

    @Test("DEVICE_FEATURE and MIG_DATA come back as they were sent")
    func features() throws {
        for action in [
            .get([]), .get([1, 2]), .set([3]), .probe(readable: true, writable: true),
            .probe(readable: false, writable: false),
        ] as [FeatureRequest.Action] {
            let request = FeatureRequest(0x8001, action)
            let message = FeatureMessage(request, room: 5)
            let again = try #require(FeatureMessage(decoding: message.encoded))
            #expect(again == message && again.request == request)
        }
        #expect(FeatureMessage(FeatureRequest(1, .get([])), room: 8).encoded == [16, 0, 0, 0, 1, 0, 1, 0])
        let asked = MigrationDataMessage(reading: 0x100)
        #expect(asked.encoded == [8, 1, 0, 0, 0, 1, 0, 0])
        #expect(MigrationDataMessage(request: asked.encoded) == asked)
        let carried = MigrationDataMessage(carrying: [7, 8, 9])
        #expect(carried.encoded == [11, 0, 0, 0, 3, 0, 0, 0, 7, 8, 9])
        #expect(MigrationDataMessage(carrier: carried.encoded) == carried)
        #expect(MigrationDataMessage(carrier: carried.encoded + [0]) == nil)
        #expect(MigrationDataMessage(request: carried.encoded) == nil)
    }
}

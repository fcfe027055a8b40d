// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "mediated-device",
    dependencies: [.package(name: "irqmux", path: "../..")],
    targets: [
        .executableTarget(
            name: "mediated-device",
            dependencies: [
                .product(name: "VFIOUser", package: "irqmux"),
                .product(name: "IRQMux", package: "irqmux"),
            ],
            swiftSettings: [.swiftLanguageMode(.v6)])
    ]
)

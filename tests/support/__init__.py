"""What tests share: model folders made on the spot, servers, processes that are killed, and a fake Hub."""

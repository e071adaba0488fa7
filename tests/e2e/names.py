"""A name server that knows one name: names.py ADDRESS PORT NAME ADDRESS_OF_NAME. Says a line for each question."""
import socket
import sys

at, port, name, address = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((at, port))
print("ready", flush=True)
while True:
    question, asker = server.recvfrom(1500)
    labels, place = [], 12
    while question[place]:
        labels.append(question[place + 1 : place + 1 + question[place]].decode())
        place += 1 + question[place]
    kind = int.from_bytes(question[place + 1 : place + 3], "big")
    end = place + 5
    known = ".".join(labels).lower() == name
    answers = b""
    if known and kind == 1:
        answers = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04" + socket.inet_aton(address)
    head = question[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\x00\x01"
    head += (b"\x00\x01" if answers else b"\x00\x00") + b"\x00\x00\x00\x00"
    server.sendto(head + question[12:end] + answers, asker)
    print(f"{asker[0]} {kind} {'.'.join(labels)}", flush=True)

/*
 * stream: messages over a stream socket.
 *
 * A stream is one descriptor as one process sees it. First both sides shake hands (struct
 * amp_shake), then frames go to and fro: eight bytes of length, the lowest first, and so many
 * bytes. Nothing here sleeps but amp_stream_wait, and nothing is locked: a call makes what
 * progress it can and says -EAGAIN. Who shares a stream, and how, is the business of endpoint.h.
 *
 * The handshake. Each side sends a hello at once: a magic number, the version, what it asks for,
 * the longest message that it takes, and 32 random bytes. Where both have a key each then sends
 * the HMAC-SHA256 of its role and both hellos under that key, and checks the other's. The roles
 * differ, so a proof that is sent back proves nothing; the random bytes are of this connection, so
 * one that was overheard proves nothing either. A side whose key is wrong, or that has none while
 * the other has, is told by a hello or a proof, never by a mere end. Nothing is encrypted, and
 * who can change bytes on their way can change them after the proof.
 *
 * Bytes of the other side are trusted with nothing. A hello that begins wrongly ends the
 * handshake with its first wrong byte. A frame's length reserves no memory: the buffer grows as
 * the bytes come.
 *
 * Death. What is half read or half written lies in the process's own memory and goes with it. What
 * the other side has got then is a part of a frame and the end, which is -EPIPE.
 */
#ifndef AMP_STREAM_H
#define AMP_STREAM_H

#include "wait.h"

#include <stddef.h>

#define AMP_HELLO_SIZE 56
#define AMP_PROOF_SIZE 32
#define AMP_FRAME_HEADER 8
#define AMP_MESSAGE_MAX_DEFAULT (UINT64_C(64) << 20)

/* What a side brings to the handshake. The key is the caller's and stays until its end. */
struct amp_terms {
    const unsigned char *key; /* NULL: none */
    size_t key_length;
    uint64_t max_message;     /* the longest that it takes */
    bool functions;           /* it would take functions */
    bool is_listener;
};

struct amp_shake {
    struct amp_terms terms;
    unsigned char out[AMP_HELLO_SIZE + AMP_PROOF_SIZE];
    unsigned char in[AMP_HELLO_SIZE + AMP_PROOF_SIZE];
    size_t out_length, out_done, in_done;
    int failure; /* told once the other side has been sent what tells it the same */
};

/* 0, or a negative errno: -ENOSYS when there is a key and no nettle. */
int amp_shake_begin(struct amp_shake *shake, const struct amp_terms *terms);

/* Goes on. 0: done. -EAGAIN: wait for *events. -EKEYREJECTED: authentication failed. -EPROTO: the other
   side does not speak this. -EPIPE: it has gone. */
int amp_shake_step(struct amp_shake *shake, int descriptor, short *events);

struct amp_stream {
    int descriptor;
    bool is_inet;
    bool functions;     /* both sides asked for them */
    uint64_t max_in;    /* the longest message that we take */
    uint64_t max_out;   /* and the other side */
    struct {
        unsigned char header[AMP_FRAME_HEADER];
        size_t header_done;
        uint64_t length;
        unsigned char *bytes;
        size_t room, done;
    } in;
    struct {
        unsigned char *rest; /* of a frame that was begun, or NULL */
        size_t length, done;
    } out;
};

/* What a handshake that is done has led to. */
void amp_stream_begin(struct amp_stream *stream, int descriptor, const struct amp_shake *shake);

/* Closes it. */
void amp_stream_end(struct amp_stream *stream);

/* Goes on reading a frame. 0: here it is, and `bytes` are the caller's to free. -EAGAIN; -EPIPE:
   the other side has gone; -EMSGSIZE: it is longer than `max` or than we said that we take, and
   nothing can be read any more; -ENOMEM. */
int amp_stream_read(struct amp_stream *stream, uint64_t max, unsigned char **bytes,
                    size_t *length);

/* A part of a frame has been read. */
static inline bool
amp_stream_is_reading(const struct amp_stream *stream)
{
    return stream->in.header_done > 0;
}

/* Forgets it. */
void amp_stream_drop_frame(struct amp_stream *stream);

/* Goes on writing a frame of which *done bytes are sent, its header counted. 0, -EAGAIN, -EPIPE. */
int amp_stream_write(struct amp_stream *stream, const void *bytes, size_t length, size_t *done);

/* Keeps a copy of what is not sent yet, for amp_stream_flush: 0 or -ENOMEM. */
int amp_stream_keep(struct amp_stream *stream, const void *bytes, size_t length, size_t done);

/* Goes on sending what was kept. 0: there is no more; -EAGAIN, -EPIPE. */
int amp_stream_flush(struct amp_stream *stream);

/* Waits for one of the events: 0, look again; or as amp_wait_descriptors. */
int amp_stream_wait(int descriptor, short events, amp_time deadline, struct amp_what *what);

#endif

package io.github.pgquota.tool.demo;

import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.jspecify.annotations.Nullable;

/** A progress bar on standard error, if there is a terminal; else nothing. */
final class Progress implements AutoCloseable {

    private final @Nullable ProgressBar bar;

    private Progress(@Nullable ProgressBar bar) {
        this.bar = bar;
    }

    /** Progress that nobody sees. */
    static Progress none() {
        return new Progress(null);
    }

    /** A bar that is full after so many steps. */
    static Progress of(String task, long steps) {
        if (!Terminal.present()) {
            return none();
        }
        return new Progress(new ProgressBarBuilder()
                .setTaskName(task)
                .setInitialMax(steps)
                .setUpdateIntervalMillis(200)
                .setStyle(style())
                .setConsumer(new ConsoleProgressBarConsumer(System.err, Terminal.width()))
                .setUnit(" calls", 1)
                .showSpeed()
                .clearDisplayOnFinish()
                .build());
    }

    private static ProgressBarStyle style() {
        Charset charset = System.console().charset();
        if (!charset.equals(StandardCharsets.UTF_8)) {
            return ProgressBarStyle.ASCII;
        }
        return Terminal.coloured()
                ? ProgressBarStyle.COLORFUL_UNICODE_BLOCK
                : ProgressBarStyle.UNICODE_BLOCK;
    }

    /** One more is done. */
    void step() {
        if (bar != null) {
            bar.step();
        }
    }

    @Override
    public void close() {
        if (bar != null) {
            bar.close();
        }
    }
}

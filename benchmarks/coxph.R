# Times R's coxph on one data file:  Rscript benchmarks/coxph.R FILE REPEATS   (FILE: CSV)
suppressMessages(library(survival))
arguments <- commandArgs(TRUE)
data <- read.csv(arguments[1])
names <- grep("^x", names(data), value = TRUE)
formula <- as.formula(paste("Surv(start, stop, event) ~", paste(names, collapse = " + ")))
invisible(gc(reset = TRUE))
before <- sum(gc()[, 2])
seconds <- numeric(0)
processor <- numeric(0)
for (i in seq_len(as.integer(arguments[2]))) {
  used <- system.time(fit <- coxph(formula, data, ties = "breslow", cluster = cluster,
    control = coxph.control(eps = 1e-12, iter.max = 50)))
  seconds <- c(seconds, used[["elapsed"]])
  processor <- c(processor, used[["user.self"]] + used[["sys.self"]])
}
grown <- (sum(gc()[, 6]) - before) * 1024^2
size <- as.numeric(object.size(data))
numbers <- function(x) paste0("[", paste(sprintf("%.17g", x), collapse = ", "), "]")
cat(sprintf('{"tool": "R coxph", "seconds": %s, "processor": %s, "coef": %s, "errors": %s, "grown": %.0f, "size": %.0f}\n',
            numbers(seconds), numbers(processor), numbers(coef(fit)), numbers(sqrt(diag(fit$var))), grown, size))

//! `strftime_now`: Python's datetime.now().strftime in the C locale, for a moment passed in.

use minijinja::{Error, ErrorKind};

#[derive(Clone, Copy)]
pub struct Moment {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    microsecond: i64,
    /// Monday is 0.
    weekday: i64,
    /// 1 January is 1.
    yearday: i64,
    /// Seconds since 1970 of the real clock, for %s.
    unix_s: i64,
}

const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn days_before_year(year: i64) -> i64 {
    let y = year - 1;
    y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

impl Moment {
    /// Python's datetime covers the years 1 to 9999; times outside are clamped to it.
    pub fn new(unix_us: i64, utc_offset_s: i32) -> Moment {
        const SECONDS_MIN: i64 = -62_135_596_800;
        const SECONDS_MAX: i64 = 253_402_300_799;
        let unix_s = unix_us.div_euclid(1_000_000);
        let local = (unix_s + i64::from(utc_offset_s)).clamp(SECONDS_MIN, SECONDS_MAX);
        // Days since 1 January of the year 1, a Monday.
        let days = local.div_euclid(86_400) + days_before_year(1970);
        let in_day = local.rem_euclid(86_400);
        let mut year = days / 366 + 1;
        while days_before_year(year + 1) <= days {
            year += 1;
        }
        let yearday = days - days_before_year(year) + 1;
        let (mut month, mut day) = (1, yearday);
        while day > days_in_month(year, month) {
            day -= days_in_month(year, month);
            month += 1;
        }
        Moment {
            year,
            month,
            day,
            hour: in_day / 3600,
            minute: in_day / 60 % 60,
            second: in_day % 60,
            microsecond: unix_us.rem_euclid(1_000_000),
            weekday: days.rem_euclid(7),
            yearday,
            unix_s,
        }
    }

    /// ISO 8601 year and week.
    fn iso_week(&self) -> (i64, i64) {
        let weeks_in = |year: i64| {
            // A year has 53 weeks when 1 January or 31 December is a Thursday.
            let first = days_before_year(year).rem_euclid(7);
            let last = (days_before_year(year + 1) - 1).rem_euclid(7);
            if first == 3 || last == 3 {
                53
            } else {
                52
            }
        };
        let week = (self.yearday - (self.weekday + 1) + 10) / 7;
        if week < 1 {
            (self.year - 1, weeks_in(self.year - 1))
        } else if week > weeks_in(self.year) {
            (self.year + 1, 1)
        } else {
            (self.year, week)
        }
    }

    pub fn format(&self, format: &str) -> Result<String, Error> {
        const FORMAT_BYTES_MAX: usize = 4096;
        if format.len() > FORMAT_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("strftime_now: a format of more than {FORMAT_BYTES_MAX} bytes"),
            ));
        }
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let Some(mut code) = chars.next() else {
                out.push('%');
                break;
            };
            // glibc's flags: '-' no padding, '_' spaces, '0' zeros, '^' capitals.
            let mut flag = None;
            if matches!(code, '-' | '_' | '0' | '^') {
                flag = Some(code);
                match chars.next() {
                    Some(next) => code = next,
                    None => {
                        out.push('%');
                        out.push(code);
                        break;
                    }
                }
            }
            let field = self.field(code, flag);
            match field {
                Some(text) if flag == Some('^') => out.push_str(&text.to_uppercase()),
                Some(text) => out.push_str(&text),
                None => {
                    out.push('%');
                    out.extend(flag);
                    out.push(code);
                }
            }
        }
        Ok(out)
    }

    fn field(&self, code: char, flag: Option<char>) -> Option<String> {
        let padded = |value: i64, width: usize, default: char| match flag
            .filter(|f| *f != '^')
            .unwrap_or(default)
        {
            '-' => value.to_string(),
            '_' => format!("{value:width$}"),
            _ => format!("{value:0width$}"),
        };
        let zeros = |value, width| padded(value, width, '0');
        let spaces = |value, width| padded(value, width, '_');
        let hour12 = (self.hour + 11) % 12 + 1;
        let weekday = WEEKDAYS[self.weekday as usize];
        let month = MONTHS[self.month as usize - 1];
        let nested = |format: &str| self.format(format).unwrap_or_default();
        Some(match code {
            'a' => weekday[..3].to_string(),
            'A' => weekday.to_string(),
            'b' | 'h' => month[..3].to_string(),
            'B' => month.to_string(),
            'c' => nested("%a %b %e %H:%M:%S %Y"),
            'C' => zeros(self.year / 100, 2),
            'd' => zeros(self.day, 2),
            'D' | 'x' => nested("%m/%d/%y"),
            'e' => spaces(self.day, 2),
            'f' => format!("{:06}", self.microsecond),
            'F' => nested("%Y-%m-%d"),
            'g' => zeros(self.iso_week().0 % 100, 2),
            // glibc writes years without padding, which shows before the year 1000.
            'G' => self.iso_week().0.to_string(),
            'H' => zeros(self.hour, 2),
            'I' => zeros(hour12, 2),
            'j' => zeros(self.yearday, 3),
            'k' => spaces(self.hour, 2),
            'l' => spaces(hour12, 2),
            'm' => zeros(self.month, 2),
            'M' => zeros(self.minute, 2),
            'n' => "\n".to_string(),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.to_string(),
            'P' => if self.hour < 12 { "am" } else { "pm" }.to_string(),
            'r' => nested("%I:%M:%S %p"),
            'R' => nested("%H:%M"),
            's' => self.unix_s.to_string(),
            'S' => zeros(self.second, 2),
            't' => "\t".to_string(),
            'T' | 'X' => nested("%H:%M:%S"),
            'u' => (self.weekday + 1).to_string(),
            'U' => zeros((self.yearday + 6 - (self.weekday + 1) % 7) / 7, 2),
            'V' => zeros(self.iso_week().1, 2),
            'w' => ((self.weekday + 1) % 7).to_string(),
            'W' => zeros((self.yearday + 6 - self.weekday) / 7, 2),
            'y' => zeros(self.year % 100, 2),
            'Y' => self.year.to_string(),
            // A naive datetime has no zone.
            'z' | 'Z' => String::new(),
            '%' => "%".to_string(),
            _ => return None,
        })
    }
}
